"""Predicts optical bands for radar images of any size, from nothing but a checkpoint; imports no Lightning."""

from partoken.satellite.predict.predictor import TilePredictor, predict_files

__all__ = ["TilePredictor", "predict_files"]
