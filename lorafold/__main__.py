"""`python -m lorafold`."""

from lorafold.cli.exit_status import ends_as_programs_do

if __name__ == "__main__":
    with ends_as_programs_do():  # from the first import on
        from lorafold.cli.app import main

        main()
