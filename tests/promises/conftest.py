import pytest
from runs import Launcher


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
    """Starts training runs, and knows the uninterrupted run of each kind."""
    launcher = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launcher
    launcher.close()
