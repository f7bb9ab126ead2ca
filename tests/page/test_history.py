"""What browsers read: numbered, bounded, and honest about what is gone."""

from edge_lupi.page.history import History


def test_what_is_newer() -> None:
    history = History()
    assert history.since(0).messages == []
    for number in range(1, 6):
        history.add(f"{number}")
    assert [message.text for message in history.since(3).messages] == ["4", "5"]
    assert [message.number for message in history.since(0).messages] == [1, 2, 3, 4, 5]
    assert history.since(5).messages == []


def test_the_oldest_goes_and_is_counted() -> None:
    history = History(most=3)
    for number in range(1, 11):
        history.add(f"{number}")
    news = history.since(4)
    assert ([message.number for message in news.messages], news.missed) == ([8, 9, 10], 3)
    assert history.since(7).missed == 0


def test_a_number_that_is_yet_to_come_begins_anew() -> None:
    history = History()
    history.add("1")
    assert [message.text for message in history.since(99).messages] == ["1"]
    assert [message.text for message in history.since(-1).messages] == ["1"]


def test_a_name_that_was_taken_back_is_nowhere() -> None:
    """Also in what was said before; streams may be called as people are."""
    history = History()
    history.add('{"label": "Ann", "stream": "Ann", "score": 0.5}')
    history.add('{"label": "speaker 2", "name": "Ann", "stream": ""}', "renamed")
    history.add('{"label": "Ann B", "score": 0.25}')
    before = history.edition
    history.renamed("Ann", "unknown")
    assert [message.text for message in history.since(0).messages] == [
        '{"label": "unknown", "stream": "Ann", "score": 0.5}',
        '{"label": "speaker 2", "name": "unknown", "stream": ""}',
        '{"label": "Ann B", "score": 0.25}',
    ]
    assert history.edition != before
