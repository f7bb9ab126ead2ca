"""Who speaks: blocks pushed from a program's own audio callback, here PortAudio's. python examples/from_a_callback.py"""

from queue import SimpleQueue

import sounddevice

from edge_lupi import Block, Listener, shipped_bundle

blocks, listening = SimpleQueue[Block](), Listener(shipped_bundle("speaker")).begin()
hand_over = lambda samples, *_: blocks.put(Block(samples[:, 0].copy()))  # noqa: E731
with sounddevice.InputStream(16_000, 1600, channels=1, callback=hand_over) as stream:
    while stream.active:
        for event in listening.push(blocks.get()):
            print(event.to_json(), flush=True)
