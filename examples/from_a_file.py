"""Who speaks, and in what emotion: events iterated. python examples/from_a_file.py SOUND"""

import sys

from edge_lupi import Listener, SoundFile, shipped_bundle

listener = Listener([shipped_bundle("speaker"), shipped_bundle("emotion")])
with SoundFile(sys.argv[1]) as sound:  # or Microphone()
    for event in listener.listen(sound):
        print(f"{event.start:7.2f} to {event.time:7.2f} s  {event.task} {event.label}")
