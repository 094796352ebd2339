"""Read event files as TensorBoard does: after a restart it forgets later updates."""

from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c


def read_events(workdir):
    """Return tag, step and value of every number in a folder's event files."""
    found: list[tuple[str, int, float]] = []
    for path in sorted(filter(Path.is_file, workdir.glob("events.out.tfevents.*"))):
        for event in events(path.read_bytes()):
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                found = [number for number in found if number[1] < event.step]
            found += [
                (value.tag, event.step, value.simple_value)
                for value in event.summary.value
                if value.HasField("simple_value")
            ]
    return found


def events(content):
    """Yield events up to the first damage: length (8 bytes), checksum (4), data, checksum (4)."""
    place = 0
    while place + 12 <= len(content):
        end = place + 16 + int.from_bytes(content[place : place + 8], "little")
        parts = content[place : place + 12], content[place + 12 : end]
        if end > len(content) or not all(map(sound, parts)):
            return
        yield Event.FromString(parts[1][:-4])
        place = end


def sound(checked):
    return masked_crc32c(checked[:-4]) == int.from_bytes(checked[-4:], "little")
