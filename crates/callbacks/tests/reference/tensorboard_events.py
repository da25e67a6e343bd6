"""Reference for src/tensorboard.rs: the same events, written by Python's tensorboard.

Run in an environment with tensorboard: python tensorboard_events.py > tensorboard_events.bin   (written with 2.21)
"""

import io
import math
import sys

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

out = io.BytesIO()
writer = RecordWriter(out)
writer.write(event_pb2.Event(wall_time=1.25, file_version="brain.Event:2").SerializeToString())
for epoch in [0, 1, 300]:
    values = [
        summary_pb2.Summary.Value(tag="loss", simple_value=1.5 / (epoch + 1)),
        summary_pb2.Summary.Value(tag="val_loss", simple_value=math.nan),
    ]
    event = event_pb2.Event(wall_time=2.5 + epoch, step=epoch, summary=summary_pb2.Summary(value=values))
    writer.write(event.SerializeToString())
writer.flush()
sys.stdout.buffer.write(out.getvalue())
