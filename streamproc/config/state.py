"""``StateConfig``: the settings that decide what the numbers mean, and therefore which state fits them."""

import hashlib
import itertools
import json
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

LONGEST_SECONDS = 4_102_444_800
"""Event times lie before this Unix time (the year 2100), so no span can be longer."""


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _whole_ms(seconds: float) -> float:
    # The shortest decimal is what the user wrote: 0.29 is 290 ms although 0.29 * 1000 need not be 290.0.
    if Decimal(repr(seconds)) * 1000 % 1:
        raise PydanticCustomError("whole_ms", "must be a whole multiple of 0.001 s")
    return seconds


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values:
        raise PydanticCustomError("empty", "must hold at least one number")
    if any(later <= earlier for earlier, later in itertools.pairwise(values)):
        raise PydanticCustomError("ascending", "must be strictly ascending")
    return values


def _unsigned_zero(number: float) -> float:
    return number + 0.0  # -0.0 is 0.0: equal settings must have one canonical form


def _gap_reset(given: Any, info: ValidationInfo) -> Any:
    # `horizons` is missing when it is at fault itself; any valid number keeps the other faults coming.
    return info.data.get("horizons", (60.0,))[-1] if given is None else given


_LONGEST_HORIZON: Any = None  # what `gap_reset: null` means; Any, because the validated value is always a float

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0), AfterValidator(_unsigned_zero)]
Positive = Annotated[Number, Field(gt=0)]
Seconds = Annotated[Number, Field(gt=0, le=LONGEST_SECONDS), AfterValidator(_whole_ms)]
SecondsOrZero = Annotated[NotNegative, Field(le=LONGEST_SECONDS), AfterValidator(_whole_ms)]
Ascending = AfterValidator(_ascending)


class StateConfig(BaseModel):
    """Settings of features and bars (section ``state:``).

    Two configurations mean the same exactly when their ``hash`` is the same: a stored state carries it and is
    refused under another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    horizons: Annotated[tuple[Seconds, ...], Ascending] = Field(
        default=(1.0, 5.0, 30.0, 60.0),
        description="Windows of the flow features, in seconds, ascending.",
    )
    bar_durations: Annotated[tuple[Seconds, ...], Ascending] = Field(
        default=(1.0, 5.0, 30.0, 60.0),
        description="Lengths of the bars, in seconds, ascending.",
    )
    hf_emit_interval: SecondsOrZero = Field(
        default=1.0,
        description="A feature row is written at the first valid book in each interval of so many seconds; "
        "0: at every book.",
    )
    bands_bps: Annotated[tuple[Positive, ...], Ascending] = Field(
        default=(5.0, 10.0, 25.0, 50.0),
        description="Outer edges of the depth bands around the mid, in basis points, ascending; the first band "
        "begins at 0.",
    )
    max_levels: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        default=10,
        description="Book levels a side that get columns and count in depth levels and concentration, 1 to 1000.",
    )
    tight_spread_threshold: NotNegative = Field(
        default=0.0001,
        description="The spread regime is `tight` while spread / mid is at most this.",
    )
    regime_window: Seconds = Field(
        default=30.0,
        description="Window of `tight_frac`, in seconds.",
    )
    smart_depth_decay: NotNegative = Field(
        default=100.0,
        description="k of the smart depth's weight exp(-k * distance from the mid / mid).",
    )
    gap_reset: Annotated[Seconds, BeforeValidator(_gap_reset)] = Field(
        default=_LONGEST_HORIZON,
        description="After more than so many seconds without a valid book the windows start again; null: the longest "
        "horizon.",
    )
    bar_grace: Seconds = Field(
        default=0.5,
        description="A bar closes once event time is so many seconds past its end; at most the shortest bar.",
    )
    bar_idle_close: Seconds | None = Field(
        default=10.0,
        description="In live processing an idle symbol's bar closes after so many more seconds of wall time; "
        "null: never.",
    )
    max_ahead: Seconds = Field(
        default=60.0,
        description="A book or trade more than so many seconds ahead of its `collected_at` is refused.",
    )

    @field_validator("bar_grace")
    @classmethod
    def _within_shortest_bar(cls, grace: float, info: ValidationInfo) -> float:
        durations: tuple[float, ...] = info.data.get("bar_durations", ())
        if durations and grace > durations[0]:
            raise PydanticCustomError(
                "bar_grace",
                "must be at most the shortest bar, {shortest} s",
                {"shortest": durations[0], "cause": "bar_durations"},
            )
        return grace

    @property
    def horizons_ms(self) -> tuple[int, ...]:
        return tuple(map(_ms, self.horizons))

    @property
    def bar_durations_ms(self) -> tuple[int, ...]:
        return tuple(map(_ms, self.bar_durations))

    @property
    def hf_emit_interval_ms(self) -> int:
        """0 means a row at every valid book."""
        return _ms(self.hf_emit_interval)

    @property
    def regime_window_ms(self) -> int:
        return _ms(self.regime_window)

    @property
    def gap_reset_ms(self) -> int:
        return _ms(self.gap_reset)

    @property
    def bar_grace_ms(self) -> int:
        return _ms(self.bar_grace)

    @property
    def bar_idle_close_ms(self) -> int | None:
        """None means that idle bars never close."""
        return None if self.bar_idle_close is None else _ms(self.bar_idle_close)

    @property
    def max_ahead_ms(self) -> int:
        return _ms(self.max_ahead)

    def canonical(self) -> str:
        """The resolved values as JSON with sorted keys: one text for one meaning (1 and 1.0 agree)."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def hash(self) -> str:
        """32 hex digits: BLAKE2b of ``canonical()`` with a digest of 16 bytes."""
        return hashlib.blake2b(self.canonical().encode(), digest_size=16).hexdigest()
