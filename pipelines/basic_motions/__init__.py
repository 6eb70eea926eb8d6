"""Activities from a smart watch's accelerometer and gyroscope."""
