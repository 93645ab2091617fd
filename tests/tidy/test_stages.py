"""Nothing that a start of the server has to wait for is loaded before the listener is up."""

import subprocess
import sys

from tests.tidy.sources import ROOT

_LATER = frozenset(
    {
        *("asyncpg", "blacksheep", "cryptography.hazmat", "guardpost", "jsonschema_rs", "prometheus_client"),
        *("server.delivery", "server.embedded", "server.lookup", "server.metrics", "server.outbound"),
        *("server.second_stage", "server.warehouse"),
        *("server.routes.admin", "server.routes.api_operations", "server.routes.application"),
        *("server.routes.management", "server.routes.openapi", "server.routes.responses"),
    }
)


def _loaded_by(imports: str) -> set[str]:
    """The modules there are once a new interpreter has run `imports`."""
    code = f"import sys\n{imports}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_first_stage_is_small() -> None:
    loaded = _loaded_by("import server.commands.serve, server.lifecycle, server.first_stage")
    assert loaded & _LATER == set()


def test_what_is_left_out_is_what_the_second_stage_loads() -> None:
    """Else a name above that no longer exists would hold nothing."""
    never = {"jsonschema_rs", "prometheus_client", "cryptography.hazmat"}  # only when something asks for them
    assert _LATER - _loaded_by("import server.second_stage") <= never
