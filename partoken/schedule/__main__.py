"""`python -m partoken.schedule`: the preview of the learning rate. See `partoken.preview`."""

import sys

from partoken.preview import main

if __name__ == "__main__":
    sys.exit(main())
