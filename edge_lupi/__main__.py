"""`python -m edge_lupi` is `edge-lupi`."""

from edge_lupi.cli import main

if __name__ == "__main__":
    main()
