"""On the path of the processes that tests start: homes that they make lie in PostgreSQL, too."""

import every_home

every_home.when_imported()
