"""The page of `lorafold ui` as a Space: for whoever opens it, with smaller files than on a machine of one's own."""

from lorafold.commands.ui.config import UiConfig
from lorafold.commands.ui.serve import serve

if __name__ == "__main__":
    serve(UiConfig(max_size=500), host="0.0.0.0")
