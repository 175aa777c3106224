"""MNIST and CIFAR-10: found on disk, verified, read and preprocessed."""
