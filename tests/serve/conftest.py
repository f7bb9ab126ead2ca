"""What the tests of the service share."""

from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from tests.serve.serving import Serving, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service that runs, with nobody known at first."""
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running
