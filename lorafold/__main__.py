"""`python -m lorafold`."""

from lorafold.ending import ends_as_programs_do

if __name__ == "__main__":
    with ends_as_programs_do():  # from the first import on
        from lorafold.cli import main

        main()
