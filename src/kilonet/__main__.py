"""The command ``kilonet``, and ``python -m kilonet``: the command line."""

import signal


def main() -> None:
    """Load the command line and run it."""
    # While it loads nothing is begun that a Ctrl-C could tell of: it just ends the process.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        from kilonet.entry import main as run

        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:  # ignored, as of a process that a shell put in the background
        from kilonet.entry import main as run
    run()


if __name__ == "__main__":
    main()
