"""Records of runs and the folder that holds them."""
