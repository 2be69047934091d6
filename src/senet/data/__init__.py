"""Where images come from, the class mapping, decoding, augmentation and loading."""
