"""From folders of tiles to training batches: splits by scene, augmentation, batches, the data module."""
