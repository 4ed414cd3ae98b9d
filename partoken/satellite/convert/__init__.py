"""Converts folders of GeoTIFFs to tiles: `python -m partoken.satellite.convert`."""
