"""Known methods, fitted on the same split in an environment of their own (``make peers``): numpy, scipy and theirs."""
