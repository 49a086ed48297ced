tr -d '\0' <f
