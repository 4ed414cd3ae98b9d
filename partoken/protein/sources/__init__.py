"""Sources of chains. Each module reads one kind of source into a stream of backbones."""
