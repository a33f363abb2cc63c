// Whoever comes from another site brings no strict cookie along; from a page of ours they do.
location.replace("/account");
