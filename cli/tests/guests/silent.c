/* A library that is loaded and says nothing. */
int nothing;
