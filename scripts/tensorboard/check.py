"""The tensorboard package beside internal/tensorboard.

    check.py golden FILE   writes by tensorboard what the Go test writes
    check.py read DIR      prints the scalars that tensorboard finds, as JSON
"""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter


def golden(path):
    """The events of TestGolden in internal/tensorboard."""
    time = 1700000000.25
    values = {"loss": 2.5, "grad_norm": 0.1, "balance/layer_00": 1.25}
    summary = summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=tag, simple_value=values[tag]) for tag in sorted(values)])
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for event in (
            event_pb2.Event(wall_time=time, file_version="brain.Event:2"),
            event_pb2.Event(wall_time=time, step=300, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)),
            event_pb2.Event(wall_time=time, step=300, summary=summary),
        ):
            writer.write(event.SerializeToString())


def read(directory):
    """{tag: [[step, value], ...]} of all event files of a directory."""
    accumulator = EventAccumulator(directory, size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    found = {tag: [[e.step, e.value] for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    {"golden": golden, "read": read}[sys.argv[1]](sys.argv[2])
