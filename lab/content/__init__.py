"""What lab hosts are given to serve: images in a registry, models on a Hub."""
