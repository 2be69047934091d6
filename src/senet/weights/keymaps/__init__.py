"""What other packages call the layers: one file per family of networks, one function per package."""
