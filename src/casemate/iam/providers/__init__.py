"""Sign-in through outside OpenID Connect providers: who they are, what their groups give, and what they must prove."""
