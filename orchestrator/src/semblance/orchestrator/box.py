"""Rectangles in pixels: x grows rightwards, y downwards."""

from dataclasses import dataclass

from semblance.orchestrator.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Box:
    """(x1, y1) is the upper left corner, (x2, y2) the lower right one, in pixels of the upright image."""

    x1: float
    y1: float
    x2: float
    y2: float

    @classmethod
    def whole(cls, width: int, height: int) -> "Box":
        return cls(0.0, 0.0, float(width), float(height))

    @property
    def area(self) -> float:
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def checked(self, width: int, height: int, name: str = "box") -> "Box":
        """Raises InvalidArgument unless it lies inside an image of that size and has an area."""
        if not (0 <= self.x1 < self.x2 <= width and 0 <= self.y1 < self.y2 <= height):
            raise InvalidArgument(
                f"{name} ({self.x1:g}, {self.y1:g}, {self.x2:g}, {self.y2:g}) is not inside the image: expected "
                f"0 ≤ x1 < x2 ≤ {width} and 0 ≤ y1 < y2 ≤ {height}, in pixels of the upright image"
            )
        return self

    def clipped(self, width: int, height: int) -> "Box":
        """The part of it that lies inside an image of that size."""
        return Box(
            min(max(self.x1, 0.0), width),
            min(max(self.y1, 0.0), height),
            min(max(self.x2, 0.0), width),
            min(max(self.y2, 0.0), height),
        )
