"""``python -m waybill``, the same as the console script."""

from waybill.cli import main

if __name__ == "__main__":
    main()
