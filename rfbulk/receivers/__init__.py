"""Where remote files are received, checked, unpacked and put in their places: in threads of this process.

Receivers know a job and give a result. They have neither the api key nor the checkpoint.
"""
