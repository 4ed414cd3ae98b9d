"""Fixtures of the the tests of searches."""

import sqlite3

import pytest


@pytest.fixture
def impatient_database(monkeypatch):
    """SQLite does not wait for the disk, because no test switches the power off."""
    connect = sqlite3.connect

    def impatient(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    monkeypatch.setattr("partoken.sweep.study.sqlite3.connect", impatient)
