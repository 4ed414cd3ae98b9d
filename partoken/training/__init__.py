"""The Lightning layer: modules, callbacks, checkpoints and the engine. It knows no domain."""
