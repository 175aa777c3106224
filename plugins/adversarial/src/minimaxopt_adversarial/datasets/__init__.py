"""MNIST and CIFAR-10: located on disk, verified, read and preprocessed."""
