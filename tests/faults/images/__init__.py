"""What a power failure may leave: images of a store in which only synced bytes surely survived."""
