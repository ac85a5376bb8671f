"""Quantities with units: durations, sizes, rates and percentages as people write them.

Each type parses its text, keeps the quantity as whole numbers in one stated unit, and renders back. Words such as
`infinity` are not quantities: a key that allows one holds `None` then (see `keys`).
"""

import re
from typing import ClassVar, Self

LARGEST = (1 << 63) - 1
"""What the core, the database and other programs that read numbers can hold."""

_MS_PER_UNIT = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[smhdw]))+")
_DURATION_PART = re.compile(r"([0-9]+)(ms|[smhdw])")
# The longest interval that MQTT can say: 0xFFFFFFFF seconds.
_LONGEST_MS = 0xFFFF_FFFF * 1_000

_BYTES_PER_UNIT = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_SIZE = re.compile(r"([0-9]+)\s*([A-Za-z]{0,2})")
_RATE = re.compile(r"([0-9]+)\s*(b|kb|mb|gb)?(?:/([0-9]*)(ms|[smhd]))?", re.IGNORECASE)

TIME_OFFSET = "system|utc|[+-](0[0-9]|1[0-4]):[0-5][0-9]"
"""Pattern of keys that name a time zone."""

TIME_OFFSET_HINT = '"system", "utc" or an offset such as "+05:30"'


class Value:
    """Base of values that have parts: equal and hashed by them, and not to be changed.

    A plain class, so that msgspec leaves parsing to `parse` instead of expecting an object.
    """

    __slots__: tuple[str, ...] = ()

    def __init__(self, *parts: object) -> None:
        for name, part in zip(self.__slots__, parts, strict=True):
            object.__setattr__(self, name, part)

    def _parts(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(other) is type(self) and other._parts() == self._parts()

    def __hash__(self) -> int:
        return hash((type(self), self._parts()))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is not to be changed: {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._parts()))})"


class Duration(int):
    """A span of time; as a number it is milliseconds, at most 0xFFFFFFFF seconds.

    The text it was read from is kept, so that `"60s"` is shown as `"60s"` and not as `"1m"`.
    """

    text: str

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `"15s"`, `"500ms"`, `"1h30m"` or 0.

        Raises:
            ValueError: another shape, a number without a unit, or too long.
        """
        if type(value) is int and value == 0:
            return cls._with_text(0, "0s")
        if isinstance(value, int | float):
            raise ValueError(f'a duration needs a unit, such as "{value}s"')
        if not isinstance(value, str):
            raise ValueError("a duration is a text with a unit")
        text = value.strip()
        if text == "0":
            return cls._with_text(0, "0s")
        if not _DURATION.fullmatch(text):
            raise ValueError("a duration is a whole number and one of ms, s, m, h, d, w")
        ms = sum(int(count) * _MS_PER_UNIT[unit] for count, unit in _DURATION_PART.findall(text))
        if ms > _LONGEST_MS:
            raise ValueError("a duration is at most 4294967295s")
        return cls._with_text(ms, text)

    @classmethod
    def _with_text(cls, ms: int, text: str) -> Self:
        duration = cls(ms)
        duration.text = text
        return duration

    @property
    def seconds(self) -> int:
        """Return whole seconds, the rest cut off."""
        return self // 1_000

    def render(self) -> str:
        """Return the text it was read from, else the number in the largest unit that loses nothing."""
        if "text" in self.__dict__:
            return self.text
        units = (unit for unit in ("d", "h", "m", "s") if self and self % _MS_PER_UNIT[unit] == 0)
        unit = next(units, "ms" if self else "s")
        return f"{self // _MS_PER_UNIT[unit]}{unit}"

    def __repr__(self) -> str:
        return f"Duration({self.render()!r})"


class ByteSize(int):
    """A number of bytes; KB, MB, GB and TB count 1024 each, as EMQX has them."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `"1MB"`, `"64kb"`, `"100"` or a number of bytes.

        Raises:
            ValueError: another shape, an unknown unit, or beyond 63 bits.
        """
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            size = cls(value)
        elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            unit = match[2].upper()
            if unit not in _BYTES_PER_UNIT:
                raise ValueError("a size ends in B, KB, MB, GB or TB")
            size = cls(int(match[1]) * _BYTES_PER_UNIT[unit])
        else:
            raise ValueError('a size is a whole number of bytes or a text such as "64KB"')
        if size > LARGEST:
            raise ValueError("a size is at most 8388607TB")
        return size

    def render(self) -> str:
        """Return the number in the largest unit that loses nothing."""
        units = ("TB", "GB", "MB", "KB")
        unit = next((unit for unit in units if self and self % _BYTES_PER_UNIT[unit] == 0), "B")
        return f"{self // _BYTES_PER_UNIT[unit]}{unit}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.render()!r})"


class Rate(Value):
    """A token bucket: `count` events in every `period_ms`, refilled continuously.

    Args:
        count: at least 1.
        period_ms: at least 1; 1000 where the text has no interval.
    """

    __slots__ = ("count", "period_ms")

    count: int
    period_ms: int

    counts_bytes: ClassVar[bool] = False

    def __init__(self, count: int, period_ms: int = 1_000) -> None:
        super().__init__(count, period_ms)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `"1000/s"`, `"1/5s"`, `"100"` or a number per second; byte rates take `"10MB/10s"` too.

        Raises:
            ValueError: another shape, a byte unit where events are counted, or zero.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError('a rate is a text such as "1000/s"')
        if match[2] and not cls.counts_bytes:
            raise ValueError("this rate counts events, not bytes")
        count = int(match[1]) * _BYTES_PER_UNIT[(match[2] or "").upper()]
        period_ms = int(match[3] or 1) * _MS_PER_UNIT[(match[4] or "s").lower()]
        if not 0 < count <= LARGEST:
            raise ValueError("a rate is above zero")
        if not 0 < period_ms <= _LONGEST_MS:
            raise ValueError("the interval of a rate is above zero")
        return cls(count, period_ms)

    @property
    def per_second(self) -> float:
        """Return the mean rate in events or bytes per second."""
        return self.count * 1_000 / self.period_ms

    def render(self) -> str:
        """Return the text with the largest units that lose nothing, such as `10MB/10s`."""
        unit = ""
        if self.counts_bytes:
            unit = next((unit for unit in ("GB", "MB", "KB") if self.count % _BYTES_PER_UNIT[unit] == 0), "")
        interval = Duration(self.period_ms).render()
        return f"{self.count // _BYTES_PER_UNIT[unit]}{unit}/{interval}"


class ByteRate(Rate):
    """A rate that counts bytes."""

    counts_bytes: ClassVar[bool] = True


class Percent(float):
    """A share of something; as a number it is per cent, 0 to 100."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `"75%"`, or a fraction such as 0.75.

        Raises:
            ValueError: another shape or outside 0 to 100 %.
        """
        if isinstance(value, str) and (match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", value.strip())):
            percent = cls(match[1])
        elif isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
            percent = cls(value * 100)
        else:
            raise ValueError('a percentage is a text such as "75%"')
        if not 0 <= percent <= 100:
            raise ValueError("a percentage is 0% to 100%")
        return percent

    def render(self) -> str:
        """Return the text, such as `75%`."""
        return f"{float(self):g}%"

    def __repr__(self) -> str:
        return f"Percent({self.render()!r})"
