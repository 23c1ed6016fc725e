"""Random edits of the bytes of a file, for Hypothesis."""

from hypothesis import strategies as st

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "cut", "repeat", "end"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """A file after edits."""
    for action, where, junk in edits:
        place = int(where**2 * len(content))  # more often near the start, where headers are
        start, rest = content[:place], content[place:]
        if action == "replace":
            content = start + junk + rest[len(junk) :]
        elif action == "insert":
            content = start + junk + rest
        elif action == "cut":
            content = start + rest[junk[0] :]
        elif action == "repeat":
            content = start + rest[: junk[0]] + rest
        elif place > 0:
            content = start
    return content
