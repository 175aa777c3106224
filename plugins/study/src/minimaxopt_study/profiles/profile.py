"""Profiles: the settings of a study, declared in TOML and checked before any work starts."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from minimaxopt.errors import ArgumentError
from minimaxopt_study.paper.printed import EXPERIMENTS, Experiment
from minimaxopt_study.profiles.sections import (
    Attack,
    Attacker,
    AttNetGame,
    CifarClassifier,
    Data,
    Figures,
    Hardening,
    MnistClassifier,
    Modern,
    Rate,
    Section,
    Sensitivity,
    Training,
    TunedAttack,
)

PIXEL_RANGE = 2.0  # pixels lie in [-1, 1]


class Profile(Section):
    """A whole study on one data set.

    Args:
        name: what the study is called in its report.
        eta: bounds on the perturbation, for pixels in [-1, 1]: half of that on MNIST's own scale from 0 to 1, and on
            CIFAR-10's twice its standard deviation times that.
        rounds: cat-and-mouse rounds; the paper has 80 on MNIST, 40 on CIFAR-10.
        seeds: one whole study for each.

    Raises:
        ArgumentError: from ``load_profile``, for an unknown key, a value out of range or settings that contradict.

    Examples:
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
        description="eta in the unit of the pixels in [-1, 1], as printed, or of pixels in [0, 1], which is "
        "twice as much",
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
        """Read ``classifier`` as that of the data set, so that a misspelled key of it is reported as such."""
        if not isinstance(settings, dict):
            return settings
        data = settings.get("data", {})
        named = data.name if isinstance(data, Data) else data.get("name") if isinstance(data, dict) else None
        classifier = settings.get("classifier", {})
        kind = CifarClassifier if named == "cifar10" else MnistClassifier
        try:
            return settings | {
                "classifier": kind.model_validate(classifier) if isinstance(classifier, dict) else classifier
            }
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
                f"eta: {self.eta[-1]:g} ({self.eta_reading}) lets every pixel take any value; stay below the pixels' "
                "range"
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
        """Return the bound on the change of a pixel in [-1, 1] at ``eta``.

        Examples:
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
        """The bound of Figure 2 (or 5): the profile's nearest to ``figures.games_eta``."""
        return min(self.eta, key=lambda eta: abs(eta - self.figures.games_eta))

    @property
    def samples_eta(self) -> float:
        """The bound of Figure 3: the profile's nearest to ``figures.samples_eta``."""
        return min(self.eta, key=lambda eta: abs(eta - self.figures.samples_eta))


def available() -> tuple[str, ...]:
    """Return the names of the packaged profiles."""
    folder = resources.files("minimaxopt_study") / "profiles"
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")))


def load_profile(name: str, **changes: Any) -> Profile:
    """Read a packaged profile by its name, or any other by the path of its TOML file.

    Args:
        name: one of ``available()``, or the path of a file that ends in .toml.
        changes: settings of the top level that replace the file's.

    Raises:
        ArgumentError: there is no such profile, or its settings have a fault.

    Examples:
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
    """Check settings and return them as a ``Profile``; every fault is reported at once, by its place."""
    try:
        return Profile.model_validate(settings)
    except ValidationError as error:
        # A fault of several settings together has no place of its own; its text names them.
        faults = "; ".join(
            ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, "))))
            for fault in error.errors()
        )
        raise ArgumentError(f"profile: {faults}; correct these settings") from error
