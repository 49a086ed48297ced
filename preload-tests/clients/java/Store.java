// MappedByteBuffer: force() of the whole, or in the variant `partial` of the bytes stored.

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.nio.file.StandardOpenOption.*;

import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Random;

public class Store {
    static final int FILE_SIZE = 16 << 20;

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[1]);
        long seed = Long.parseLong(args[2]);
        boolean partial = args.length > 4 && args[4].equals("partial");
        Random chance = new Random(seed);
        try (FileChannel file = FileChannel.open(Path.of(args[0], "f"), CREATE, READ, WRITE)) {
            MappedByteBuffer buffer = file.map(FileChannel.MapMode.READ_WRITE, 0, FILE_SIZE);
            int at = 0;
            for (int number = 0; number < count; number++) {
                String digits = String.format("%08x", chance.nextInt());
                String line = "k%06d ".formatted(number) + digits.repeat(1 + chance.nextInt(750)) + "\n";
                byte[] bytes = line.getBytes(US_ASCII);
                if (at + bytes.length > FILE_SIZE) break;
                buffer.put(at, bytes);
                if (partial) buffer.force(at, bytes.length);
                else buffer.force();
                System.out.write(bytes);
                System.out.flush();
                at += bytes.length;
            }
            if (args[3].equals("hold")) System.out.println("hold");
            while (args[3].equals("hold")) Thread.sleep(1000);
        }
    }
}
