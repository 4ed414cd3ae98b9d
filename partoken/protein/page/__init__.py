"""The HTML page of `partoken report`: its writer, scripts and style, and the viewer of structures."""
