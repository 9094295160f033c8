"""Long runs of made-up days with real deaths in them: kill loop and soak share these parts."""
