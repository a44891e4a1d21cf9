"""A token is compared in a way that takes as long whatever was presented: the code says so; timing says nothing."""

import ast
import hmac
import inspect
import textwrap

from kvd.sinks import tokens
from kvd.sinks.tokens import Keyring


def path(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def test_every_digest_is_compared_in_constant_time_whichever_fits():
    holder = path(Keyring.holder)
    (loop,) = [node for node in ast.walk(holder) if isinstance(node, ast.For)]
    assert ast.unparse(loop.iter) == "self._known" and not loop.orelse
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.Break | ast.Return | ast.Continue | ast.Raise)]
    (condition,) = [node.test for node in ast.walk(loop) if isinstance(node, ast.If)]
    assert ast.unparse(condition) == "compare_digest(known, digest)"
    assert not [node for node in ast.walk(holder) if isinstance(node, ast.Compare)]  # nothing looks at it otherwise
    assert tokens.compare_digest is hmac.compare_digest


def test_what_is_compared_is_as_long_whatever_was_presented():
    digest = path(tokens._digest)
    assert "sha256" in ast.unparse(digest) and not [node for node in ast.walk(digest) if isinstance(node, ast.If)]
    assert {len(tokens._digest(word)) for word in ("", "a", "a" * 10_000, "\ud800")} == {32}


def test_whatever_is_presented_goes_that_way():
    """Nothing else of `kvd.sinks` knows the secrets: the settings are read into digests once."""
    source = inspect.getsource(tokens)
    assert source.count(".secret") == 1 and "_digest(token.secret)" in source
