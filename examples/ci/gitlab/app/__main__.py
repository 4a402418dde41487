from pathlib import Path

print("hello from", Path.cwd().name)
