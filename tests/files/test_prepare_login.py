"""First contact, on the host: what it would close is not the login that it is to open."""

from __future__ import annotations

import prepare_login
import pytest


@pytest.mark.parametrize("narrow", [True, False])
def test_root_is_refused_only_where_its_login_would_be_closed(narrow: bool) -> None:
    request = {"user": "root", "keys": [], "hostname": None, "narrow": narrow, "apply": True}
    if not narrow:
        assert "sshd without passwords" not in prepare_login.steps(request)
        return
    with pytest.raises(SystemExit, match="ssh_user: found root, allowed: a user of its own"):
        prepare_login.steps(request)
