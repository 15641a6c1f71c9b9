"""Checks that the key is made once, readable for its owner only, and never where it would be published."""

from __future__ import annotations

import hashlib
import hmac
import os

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.privacy.key_file import Hasher, check_key_place, key_path, make_key, names_path, read_key


def test_a_new_key_is_for_its_owner_only(tmp_path, capsys):
    key = make_key(tmp_path / "new/out.key")
    assert len(key) == 32 and read_key(tmp_path / "new/out.key") == key != make_key(tmp_path / "other.key")
    assert (tmp_path / "new/out.key").stat().st_mode & 0o777 == 0o600 and capsys.readouterr().err == ""
    with pytest.raises(BuildError, match=r"out\.key: the key cannot be written"):
        make_key(tmp_path / "new/out.key")


def test_a_key_that_others_may_read_is_warned_of(tmp_path, capsys):
    make_key(tmp_path / "out.key")
    (tmp_path / "out.key").chmod(0o644)
    read_key(tmp_path / "out.key")
    said = capsys.readouterr().err
    assert said == f"warning: {tmp_path}/out.key can be read by other users; run: chmod 600 {tmp_path}/out.key\n"


@pytest.mark.parametrize("content", [b"", b"# only words\n", b"ab" * 31, b"zz" * 32, b"\xff\xfe"])
def test_a_file_that_holds_no_key(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(BuildError, match="key"):
        read_key(tmp_path / "key")


def test_a_hash_is_an_hmac_and_depends_on_key_kind_and_value():
    key = bytes(range(32))
    expected = hmac.new(key, b"patient\0P001", hashlib.sha256).hexdigest()[:16]
    assert Hasher(key).hash("patient", "P001") == expected
    others = [
        Hasher(os.urandom(32)).hash("patient", "P001"),
        *(Hasher(key).hash(*one) for one in (("study", "P001"), ("patient", "P002"))),
    ]
    assert len({expected, *others}) == 4
    assert Hasher(key).fingerprint != Hasher(bytes(32)).fingerprint


def test_it_lies_beside_the_output(tmp_path):
    assert key_path(str(tmp_path / "out/")) == tmp_path / "out.key"
    assert names_path(str(tmp_path / "out")) == tmp_path / "out.names.jsonl"
    assert key_path(str(tmp_path / "out"), str(tmp_path / "k")) == tmp_path / "k"
    with pytest.raises(BuildError, match=r"--output_dir memory://out requires --key_file FILE"):
        key_path("memory://out")
    assert names_path("memory://out", str(tmp_path / "a.key")) == tmp_path / "a.names.jsonl"


def test_it_is_refused_where_it_would_be_published(tmp_path):
    for given in (tmp_path / "out/secret.key", tmp_path / "out"):
        with pytest.raises(BuildError, match=r"is inside --output_dir .*out; name a file outside of it by --key_file"):
            check_key_place(str(tmp_path / "out"), str(given), ())
    with pytest.raises(BuildError, match=r"--key_file .* is a folder; name a file"):
        check_key_place(str(tmp_path / "out"), str(tmp_path), ())
