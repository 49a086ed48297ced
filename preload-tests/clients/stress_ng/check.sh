echo "stress-ng verified"
