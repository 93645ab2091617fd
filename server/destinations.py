"""From a destination of the catalog to what the warehouse connects with. Part of the composition."""

from server.catalog import Destination
from server.embedded import PostgresAddress
from server.warehouse import PostgresConfig


def postgres_config(destination: Destination, embedded: PostgresAddress | None) -> PostgresConfig:
    """How to connect; `embedded` is where the embedded Postgres is, for a destination that lives in it."""
    if destination.datasource is not None:
        source = destination.datasource
        return PostgresConfig(
            host=source.host,
            port=source.port,
            database=source.db,
            schema=source.schema,
            username=source.username,
            password=source.password,
            parameters=source.parameters,
        )
    if embedded is None:
        raise ValueError(f"destination {destination.id} needs the embedded Postgres, which is not running")
    return PostgresConfig(
        host=embedded.host,
        port=embedded.port,
        database=embedded.database,
        schema=destination.schema,
        username=embedded.username,
        password=embedded.password,
        sslmode="disable",
    )
