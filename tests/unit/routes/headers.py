"""Request headers as Granian gives them, for requests that come through no server."""


class Headers(dict[str, str]):
    """One value a name."""

    def get_all(self, key: str) -> list[str]:
        return [self[key]] if key in self else []
